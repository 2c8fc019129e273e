"""Training: datasets, models, perturbations, adversarial training, evaluation, promotion. torch lives here."""
