// Icons of our own, drawn as lines on a grid of 24; they say nothing to a screen reader.
const paths = {
  add: "M12 5v14M5 12h14",
  chat: "M21 12a8 8 0 0 1-8 8H4l2-3a8 8 0 1 1 15-5Z",
  check: "m5 12 5 5 9-10",
  chevron: "m6 9 6 6 6-6",
  close: "M6 6l12 12M18 6 6 18",
  copy: "M9 9h10v11H9zM5 15V4h10",
  device: "M4 5h16v11H4zM2 20h20",
  download: "M12 4v11m-5-5 5 5 5-5M5 20h14",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  help: "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 17.5v.01M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Z",
  image: "M4 5h16v14H4zM4 16l5-5 5 5 2-2 4 4M15.5 9.5v.01",
  key: "M14 10a4 4 0 1 0-3.5 4l1.5-1.5h2V10h2l1-1-2-2M7.5 13.5v.01M14 10l6-6M17 7l2 2",
  menu: "M4 7h16M4 12h16M4 17h16",
  pause: "M9 6v12M15 6v12",
  more: "M5 10.9a1.1 1.1 0 1 0 0 2.2 1.1 1.1 0 0 0 0-2.2ZM12 10.9a1.1 1.1 0 1 0 0 2.2 1.1 1.1 0 0 0 0-2.2ZM19 10.9a1.1 1.1 0 1 0 0 2.2 1.1 1.1 0 0 0 0-2.2Z",
  play: "M8 5v14l11-7z",
  redo: "M20 11a8 8 0 1 0-2.3 6.3M20 4v7h-7",
  requests: "M4 18V9M10 18V5M16 18v-6M22 20H2",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14ZM16 16l5 5",
  send: "M12 20V5M5.5 11.5 12 5l6.5 6.5",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4",
  stop: "M7 7h10v10H7z",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  upload: "M12 20V9m-5 5 5-5 5 5M5 4h14",
  user: "M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM5 20c1-4 4-5 7-5s6 1 7 5",
  warning: "M12 4 2.5 20h19zM12 10v5M12 17.5v.01",
} as const;
export type IconName = keyof typeof paths;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={paths[name]} />
    </svg>
  );
}
