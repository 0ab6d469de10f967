"""What is compared with: other packages, used the way their documentation shows, and what one would write."""
