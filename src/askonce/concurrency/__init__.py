"""Who makes an answer, in this process and among several; and how work runs."""
