// Start the parts of the page that the script brings to life.
