import { memo, useEffect, useRef } from "react";

/** The sides of the drawn picture in pixels. The browser stretches it. */
const SIDE = 32;

/**
 * The blurred picture behind a picture that is not loaded yet. Shows nothing for a damaged text. The decoder is loaded at
 * the first use.
 */
export const Blurhash = memo(function Blurhash({ hash }: { hash: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    import("blurhash").then(
      ({ decode, isBlurhashValid }) => {
        const context = isBlurhashValid(hash).result ? canvas.current?.getContext("2d") : undefined;
        if (!context) return;
        const image = context.createImageData(SIDE, SIDE);
        image.data.set(decode(hash, SIDE, SIDE));
        context.putImageData(image, 0, 0);
      },
      // Without the decoder the box stays plain.
      () => {},
    );
  }, [hash]);
  return <canvas ref={canvas} className="tidings-blurhash" width={SIDE} height={SIDE} />;
});
