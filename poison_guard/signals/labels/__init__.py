"""Does the label fit: what trusted examples expect of an example's label, and what mark goes with labels they deny."""
