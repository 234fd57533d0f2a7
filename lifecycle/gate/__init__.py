"""The gate between a challenger and the map: pure rules on figures, agreed before the first of them is seen."""
