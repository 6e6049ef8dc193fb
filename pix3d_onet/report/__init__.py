"""Tables, figures and HTML pages from stored runs: `onet report`."""
