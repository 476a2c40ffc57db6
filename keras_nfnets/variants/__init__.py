"""The networks as data: a table, what its rows come to, and what they cost."""
