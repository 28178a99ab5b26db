"""Moving pictures: decoding by time stamp, and the poses of people."""
