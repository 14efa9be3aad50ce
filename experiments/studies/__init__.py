"""Studies of many runs.

`runner` trains and scores the cells of a study, `records` keeps their results, `tables` and
`figures` show them. A study is defined beside its launcher: `experiments.table1` and `table2`.
"""
