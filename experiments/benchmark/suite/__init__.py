"""A list of cases on one accelerator, measured within a budget of minutes.

`plan` lists the cases, `scheduler` has `worker` processes measure them (`measuring`), `store` keeps
each result as soon as there is one, and `summary` makes tables and charts of what is kept.
"""
