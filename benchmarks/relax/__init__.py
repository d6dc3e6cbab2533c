"""What relaxations do for a training, beside what else costs as many gradients."""
