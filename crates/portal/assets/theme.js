// The theme that the person chose, before the first paint. Without a choice the system's holds.
{
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}
