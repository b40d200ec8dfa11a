"""Attribution graphs of subsets: made, scored, kept, compared, written."""
