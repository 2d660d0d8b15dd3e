"""What Limosa is measured against, each as a process of its own and set up as well as it can be."""
