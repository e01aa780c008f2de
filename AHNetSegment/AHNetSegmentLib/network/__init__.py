"""The paper: networks, transfer from 2D to 3D, losses, foreign weights. Imports torch and nothing else."""
