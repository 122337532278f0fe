"""`--recipe paper`: Contrastive Gaussian Clustering as published, offline, to compare the incremental mapper with."""
