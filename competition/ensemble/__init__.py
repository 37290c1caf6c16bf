"""Many members' predictions of the same images -> one; every weight is fitted on out-of-fold predictions only.

stack.py         the members' out-of-fold probabilities, joined by image id and class name
combination.py   what is fitted: applied to any images that all members predicted
shortlist.py     the few classes that can win each row, and macro F1 of many candidates on confusion counts
greedy.py        selection with replacement and bagging
weighted.py      weights by coordinate ascent on macro F1
stacked.py       regularised multinomial regression
selection.py     nested estimates of all methods, and the simplest that is not beaten beyond noise
"""
