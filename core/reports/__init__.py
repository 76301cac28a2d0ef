"""Reports for people: pictures as SVG, and pages that need nothing but themselves."""
