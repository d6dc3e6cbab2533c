"""The stages that every run can have."""
