"""The networks as data: their table, their plan, and their cost."""
