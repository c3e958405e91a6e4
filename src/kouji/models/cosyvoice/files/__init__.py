"""Files of a model directory: found, read as data, checked."""
