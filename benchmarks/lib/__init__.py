"""What every scenario stands on: loads, rounds, drivers, reports, tables, plots."""
