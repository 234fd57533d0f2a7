"""The page of the live map in a browser: `from_service.js` asks the service, `view.js` shows what it answers."""
