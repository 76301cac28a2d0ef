"""`modpm browse`: class modules on pages, to look for, compare and try.

Data moves one way: a shelf (a registry, the installed project, a folder of distributions) → its
listing, which is the catalogue that `modpm search` reads → what a page says → the page, either
answered by a server on this machine or written to a folder.

    shelf.py    what is browsed; folders of distributions as a registry that is only read
    listing.py  rows and pages of the catalogue; all that is known of one module, one origin
    words.py    numbers and records as people say them
    pages.py    templates filled in: the same for the server and for the folder
    readme.py   the Markdown of strangers as harmless HTML
    scoring.py  what the installed modules say of a picture
    server.py   the pages and the catalogue as JSON over HTTP, on loopback
    export.py   the same as files
    browse.py   the verb

Every address is relative, and the same on the server and in the folder:

    index.html  catalogue.json  m/NAMESPACE/NAME.html  m/NAMESPACE/NAME.json  o/DIGEST.html
    basket.html  static/browse.js  static/style.css  p/DIGEST.png

On the server `catalogue.json` takes a query and gives one page of it; in the folder it is all of
the catalogue, and `browse.js` looks through it. What strangers wrote is text: templates escape it,
`as_text` shows what would steer it, and no page may load or run anything but its own files.
"""
