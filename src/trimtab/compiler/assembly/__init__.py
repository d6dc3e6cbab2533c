"""Machine code read as text: instructions, loops, and what one pass of a loop takes."""
