// Sets the chosen theme before the first paint, so that the page never flashes in the other theme.
try {
  const theme = localStorage.getItem("tidings.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // The browser may block storage. Then the system's theme applies.
}
