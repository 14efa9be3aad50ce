"""What studies of many runs share.

`runner` trains and scores the cells of a study, `records` keeps what each came to, `tables` and
`figures` show it. A study is defined where it is launched: `experiments.table1` and `table2`.
"""
