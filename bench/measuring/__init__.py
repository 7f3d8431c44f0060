"""Shared by the commands that measure: processes, the machine, tables and plots."""
