"""What was measured and drawn, for people: records, tables, figures and pages."""
