"""Measurements that are run by hand, on an idle machine: they are no tests."""
