"""The formats of `specs/`: read strictly, written canonically, without torch."""
