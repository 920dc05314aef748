"""Returns a list that holds itself, and a dictionary that does."""


def add(a, b):
    values: list = [6]
    values.append(values)
    table: dict = {"value": values}
    table["table"] = table
    return [values, table]
