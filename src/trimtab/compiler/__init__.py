"""Static tuning of tensor programs: schedules chosen by analysis, compiled by TVM."""
