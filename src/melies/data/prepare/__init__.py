"""Making the data sets that melies knows, each as one zip in the imagefolder convention."""
