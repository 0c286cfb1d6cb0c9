"""How a Task is drafted from a table: names, columns, the target, roles of columns, the proof, the text."""
