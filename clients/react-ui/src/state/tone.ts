/** The volume and the length in seconds of the sound. */
const VOLUME = 0.1;
const LENGTH_S = 0.25;

let context: AudioContext | undefined;

/** Plays a short tone. Browsers play nothing before the first click or key in the page. */
export function playTone(): void {
  if (typeof AudioContext !== "function") return;
  context ??= new AudioContext();
  const audio = context;
  audio.resume().then(
    () => {
      const tone = audio.createOscillator();
      const volume = audio.createGain();
      tone.frequency.value = 660;
      volume.gain.setValueAtTime(VOLUME, audio.currentTime);
      volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + LENGTH_S);
      tone.connect(volume).connect(audio.destination);
      tone.start();
      tone.stop(audio.currentTime + LENGTH_S);
    },
    () => {},
  );
}
