"""What the commands that measure share: processes, the machine, tables and plots."""
