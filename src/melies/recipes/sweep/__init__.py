"""A sweep: one model drawn from in many ways of guiding, always the same pictures, on one yardstick."""
