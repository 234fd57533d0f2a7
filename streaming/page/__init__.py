"""The page of the live map in a browser: one page, whether the job writes it as a file or the service serves it.

`page.html`, `page.css` and the modules are of both. `from_file.js` takes the pictures from data within the page,
`from_service.js` from the service's answers; both show them with `view.js`.
"""
