"""Registration of many pairs, on this machine or a cluster, resumable."""
