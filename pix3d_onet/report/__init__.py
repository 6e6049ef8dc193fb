"""Tables, figures and pages from stored runs: `onet report`."""
