// Buttons. One with an icon alone needs a label for those who do not see it.
import type { ButtonHTMLAttributes, ComponentChildren } from "preact";

type Props = Omit<ButtonHTMLAttributes<HTMLButtonElement>, "icon"> & {
  kind?: "primary" | "plain" | "quiet" | "danger";
  children?: ComponentChildren;
};

export function Button({ kind = "plain", class: extra, type = "button", ...rest }: Props) {
  return <button type={type} class={`button button-${kind}${extra ? ` ${extra}` : ""}`} {...rest} />;
}

type IconProps = Omit<Props, "children"> & { label: string; children: ComponentChildren };

export function IconButton({ label, children, class: extra, kind = "quiet", ...rest }: IconProps) {
  return (
    <Button kind={kind} class={`button-icon${extra ? ` ${extra}` : ""}`} aria-label={label} title={label} {...rest}>
      {children}
    </Button>
  );
}
