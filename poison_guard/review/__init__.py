"""The pure rules of a review: who decides, what each verb may move, and which records are drawn."""
