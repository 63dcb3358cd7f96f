"""Write what a run did, and how runs differ, as one page of HTML that opens anywhere."""
