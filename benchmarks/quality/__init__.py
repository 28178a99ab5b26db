"""How good what was trained here is: the records, and the comparisons that must train both sides first."""
