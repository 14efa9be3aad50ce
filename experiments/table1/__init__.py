"""The paper's Table 1 and Figure 4: methods and schemes over seeds.

`study` defines the cells, their training and their scores, `report` makes the tables, `figures` the
curves and the sample sheet; `published` holds the paper's own numbers.
"""
