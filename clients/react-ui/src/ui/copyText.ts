/** Copies a text to the clipboard. Rejects where the page may not use the clipboard. */
export async function copyText(text: string): Promise<void> {
  await navigator.clipboard.writeText(text);
}
