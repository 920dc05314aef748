"""Is no answer: the name is there, the function is not."""

add = 6
