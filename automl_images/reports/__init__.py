"""What people see: HTML reports, drawings, the terminal."""
