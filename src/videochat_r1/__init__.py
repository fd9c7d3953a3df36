"""VideoChat-R1: reinforcement fine-tuning of video language models."""
